/* What a spirit says on its page is told once, to the right life, and never lost.
 *
 * A model of board.py (page and doorbell) and engine/crew.py. WRONG puts one step in a wrong place, and must be found.
 *   1: the manager reads the pages before it stops the ringing
 *   2: a page is not made blank for the next life
 *   3: a page is not read once more when its spirit has ended
 */

#ifndef WRONG
#define WRONG 0
#endif
#define N 3     /* seats */
#define LIVES 2 /* of each */

bool page[N];        /* the bit READY, as it stands in shared memory */
bool rung;           /* the doorbell: it rings or not, however often it was pressed */
bool said[N];        /* what really happened in this life */
bool told[N];        /* what the pool believes of this life */
bool dead[N], alive[N];
byte lives[N];

proctype Spirit(byte me) {
    {
        atomic { page[me] = true; said[me] = true }; /* one store */
        rung = true;
        false /* works until it is killed */
    } unless { !alive[me] };
    dead[me] = true
}

active proctype Nemesis() {
    do
    :: d_step { alive[0] -> alive[0] = false }
    :: d_step { alive[1] -> alive[1] = false }
    :: d_step { alive[2] -> alive[2] = false }
    :: break
    od
}

inline look(i) {
    d_step {
        if
        :: page[i] && !told[i] -> assert(said[i]); told[i] = true
        :: else
        fi
    }
}

inline begin_life(i) {
#if WRONG != 2
    page[i] = false;
#endif
    atomic { said[i] = false; told[i] = false; dead[i] = false; alive[i] = true; lives[i]++; run Spirit(i) }
}

inline bury(i) {
#if WRONG != 3
    look(i);
#endif
    assert(!said[i] || told[i]);
    if
    :: lives[i] < LIVES -> begin_life(i)
    :: else -> lives[i] = LIVES + 1
    fi
}

active proctype Manager() {
    byte i;
    for (i : 0 .. N - 1) { begin_life(i) }
    do
    :: rung ->
#if WRONG == 1
        for (i : 0 .. N - 1) { look(i) }
        rung = false
#else
        rung = false;
        for (i : 0 .. N - 1) { look(i) }
#endif
    :: dead[0] && lives[0] <= LIVES -> bury(0)
    :: dead[1] && lives[1] <= LIVES -> bury(1)
    :: dead[2] && lives[2] <= LIVES -> bury(2)
    od
}

active proctype Judge() {
    byte i;
    timeout;
    for (i : 0 .. N - 1) {
        assert(!said[i] || told[i])
    }
}
