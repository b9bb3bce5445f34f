/* One manager at most, a start that always comes through, and a stop that signals nobody else.
 *
 * A model of lock.py and pidfile.py: the two locks on a file that is made and removed, starters that race and are killed
 * at any step, a lock file that a dead ghost has left, and a command that signals the holder while numbers of processes
 * are used again. WRONG leaves one step out, and must be found.
 *   1: nobody looks whether the path still names the file that was locked
 *   2: a manager that has signed since the first look is not heeded
 *   3: the stop believes the number that it read, without asking again once it has a handle
 *
 * Of the kernel: an open file lock lives as long as any process that inherited it; a POSIX lock as long as the process
 * that took it, and the kernel tells its number. A handle is on one process for ever, its number is not.
 */

#ifndef WRONG
#define WRONG 0
#endif
#define GHOSTS 4 /* lines of starter and daemon; the last one starts when all others have ended */
#define FILES 4  /* lock files that may be made; the first lies there already, of a dead ghost */
#define PIDS 2   /* numbers of processes, used again */
#define NONE 255

byte path = 1;              /* the file that the name leads to, 0 for none */
byte made = 1;
byte decides[FILES + 1];    /* by file: the line that has the lock that decides, 0 for none */
byte signer[FILES + 1];     /* by file: the process that signed, 0 for none; processes are numbered for ever */
byte processes;             /* so many were there */
byte pid_of[2 * GHOSTS + 3];  /* by process: its number, NONE when it has ended */
bool is_ghost[2 * GHOSTS + 3];
bool taken[PIDS];
byte managers;
byte starts;

inline be_born(process, ghost) {
    d_step {
        !taken[0] || !taken[1] -> /* a number is free */
        processes++;
        process = processes;
        pid_of[process] = (!taken[0] -> 0 : 1);
        taken[pid_of[process]] = true;
        is_ghost[process] = ghost
    }
}

inline die(process) {
    d_step {
        taken[pid_of[process]] = false;
        pid_of[process] = NONE
    }
}

/* One line: a starter, and the daemon that inherits what it has open. `late` begins when all others have ended. */
proctype Ghost(byte me; bool late) {
    byte file = 0, process = 0;
    bool is_manager = false, killed = false;

again:
    file = 0;
    if
    :: path && signer[path] -> goto lost
    :: else
    fi;
    if /* open, or make */
    :: atomic { path -> file = path }
    :: atomic { !path && made < FILES -> made++; path = made; file = made }
    :: !path && made == FILES -> goto lost
    fi;
    if /* the lock that decides */
    :: atomic { !decides[file] -> decides[file] = me }
    :: decides[file] -> file = 0; goto lost
    fi;
#if WRONG != 1
    if
    :: path != file -> decides[file] = 0; goto again
    :: else
    fi;
#endif
#if WRONG != 2
    if
    :: signer[file] -> decides[file] = 0; goto lost
    :: else
    fi;
#endif
    /* The forks that daemonize: from here on the starter may be killed without any effect. */
    be_born(process, true);
    if
#if WRONG == 2
    :: signer[file] = process
#else
    :: atomic { !signer[file] -> signer[file] = process }
    :: signer[file] -> goto lost
#endif
    :: !late -> killed = true; goto dead
    fi;
#if WRONG != 1
    if
    :: path != file -> signer[file] = 0; goto lost
    :: else
    fi;
#endif
    if
    :: decides[file] = 0
    :: !late -> killed = true; goto dead
    fi;
    atomic { managers++; is_manager = true; starts++ };
    assert(managers <= 1);
    if /* ends in order, or is killed */
    :: atomic { managers--; is_manager = false }; /* its pool has halted: all that is left to do is to tidy up */
       if
       :: path == file -> path = 0 /* nobody else removes a file that is locked */
       :: else
       fi
    :: !late -> killed = true
    fi;
    goto dead;
lost:
    assert(!late); /* the next start works, whatever has happened before */
dead:
    atomic {
        managers = managers - is_manager;
        if :: file && signer[file] == process && process -> signer[file] = 0 :: else fi
    };
    if :: file && decides[file] == me -> decides[file] = 0 :: else fi; /* the last that inherited it has gone */
    if :: process && pid_of[process] != NONE -> die(process) :: else fi
}

/* Somebody's process that has nothing to do with it. */
proctype Bystander() {
    byte process;
    be_born(process, false);
    die(process)
}

/* FilePid.signal: asks for the holder, takes a handle on that number, and asks again. */
proctype Stop() {
    byte first = NONE, handle = 0, second = NONE, one;
    d_step { if :: path && signer[path] -> first = pid_of[signer[path]] :: else fi };
    if :: first == NONE -> goto out :: else fi;
    d_step { /* pidfd_open: whoever has that number now */
        one = 1;
        do
        :: one > processes -> break
        :: one <= processes && pid_of[one] == first -> handle = one; break
        :: else -> one++
        od
    };
    if :: !handle -> goto out :: else fi;
#if WRONG != 3
    d_step { if :: path && signer[path] -> second = pid_of[signer[path]] :: else fi };
    if :: first != second -> goto out :: else fi;
#endif
    assert(pid_of[handle] == NONE || is_ghost[handle]);
out:
    skip
}

init {
    byte i;
    atomic {
        for (i : 1 .. GHOSTS - 1) { run Ghost(i, false) };
        run Bystander();
        run Stop()
    };
    _nr_pr == 1;
    run Ghost(GHOSTS, true);
    _nr_pr == 1;
    assert(starts >= 1)
}
