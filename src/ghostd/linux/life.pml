/* No orphan and no lost QUIT: the first steps of a newborn, beside a manager that may be killed at any moment.
 *
 * A model of spirit/birth.py, engine/launch.py and life.py. WRONG puts one step in a wrong place, and must be found.
 *   1: the newborn looks for its parent before it asks for the death signal
 *   2: QUIT is not blocked across the fork
 *   3: there is no life pipe
 *
 * Of the kernel: PR_SET_PDEATHSIG is answered only if the parent ends after the call, and forgotten when the process
 * changes its user. An O_ASYNC descriptor sends its signal only if the pipe ends after F_SETOWN.
 */

#ifndef WRONG
#define WRONG 0
#endif
#define N 3 /* spirits */

bool manager_lives = true;
bool forked[N], handles[N];      /* has a process; has its own handlers */
bool death_signal[N], owner[N];  /* what the kernel remembers for it */
bool asked[N], quit[N];          /* QUIT was sent; waits for it, or was heard */
bool killed[N], ended[N];

proctype Spirit(byte me) {
    {
#if WRONG == 1
        if :: !manager_lives -> goto gone :: else fi;
        atomic { death_signal[me] = manager_lives };
#else
        atomic { death_signal[me] = manager_lives };
        if :: !manager_lives -> goto gone :: else fi;
#endif
#if WRONG != 3
        atomic { owner[me] = manager_lives };
#endif
        handles[me] = true;
        if
        :: death_signal[me] = false /* it becomes another user */
        :: skip
        fi;
        quit[me] -> skip;
gone:   skip
    } unless { killed[me] };
    ended[me] = true
}

active proctype Manager() {
    byte i;
    {
        for (i : 0 .. N - 1) {
            atomic { forked[i] = true; run Spirit(i) };
            if
            :: atomic {
                asked[i] = true;
#if WRONG == 2
                quit[i] = handles[i] /* the parent's handlers have it */
#else
                quit[i] = true /* it waits until the newborn has its own */
#endif
            }
            :: skip
            fi
        }
    } unless { !manager_lives }
}

active proctype Nemesis() {
    byte i;
    if
    :: atomic {
        manager_lives = false;
        for (i : 0 .. N - 1) {
            killed[i] = killed[i] || death_signal[i] || owner[i]
        }
    }
    :: skip
    fi
}

active proctype Judge() {
    byte i;
    timeout; /* nobody has anything left to do */
    for (i : 0 .. N - 1) {
        assert(manager_lives || !forked[i] || ended[i]); /* no orphan */
        assert(!asked[i] || ended[i])                    /* no lost QUIT */
    }
}
