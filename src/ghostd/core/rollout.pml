/* A reload ends in the new generation or in the old one, and the pool never serves less than it should for it.
 *
 * A model of rollout.py and of pool.py's _shed and _fill, for a pool of WANTED spirits with SPARE. The world is free to
 * let spirits be ready late, end when they like, fail to boot, and leave slowly. WRONG changes one rule of the pool, and
 * must be found.
 *   1: an old one is asked to leave although nobody new is ready
 *   2: those that are leaving are not counted as living
 *   3: a generation that has failed is not given up
 */

#ifndef WRONG
#define WRONG 0
#endif
#ifndef SPARE
#define SPARE 1
#endif
#define WANTED 3
#define SEATS (WANTED + SPARE)
#define DEATHS 2 /* of spirits that were ready: the world's, not the pool's */

/* Whether one that is ready may be missed. */
#if WRONG == 1
#define CAN_MISS true
#elif SPARE == 0
#define CAN_MISS (ready > WANTED || (ready == living && living >= WANTED))
#else
#define CAN_MISS (ready > WANTED)
#endif

mtype = { NONE, BOOTING, READY, LEAVING };

mtype phase[SEATS + 1];
bool fresh[SEATS + 1];    /* of the new generation */
bool wanted_fresh;        /* the generation that is wanted now */
bool running;             /* a rollout is */
bool failure, bad;        /* a new one did not come up; the new code does not work */
byte deaths, done, undone;
byte living, ready, mine; /* counted anew at each step of the pool */

inline count() {
    living = 0; ready = 0; mine = 0; i = 0;
    do
    :: i == SEATS + 1 -> break
    :: else ->
#if WRONG == 2
        living = living + (phase[i] != NONE && phase[i] != LEAVING);
#else
        living = living + (phase[i] != NONE);
#endif
        ready = ready + (phase[i] == READY);
        mine = mine + ((phase[i] == BOOTING || phase[i] == READY) && fresh[i] == wanted_fresh);
        i++
    od
}

inline settled(is) { /* nobody of another generation serves, and all of this one do */
    is = true; i = 0;
    do
    :: i == SEATS + 1 -> break
    :: else ->
        is = is && !((phase[i] == BOOTING || phase[i] == READY) && fresh[i] != wanted_fresh);
        i++
    od;
    is = is && mine >= WANTED && ready >= WANTED
}

inline turn() { /* Rollout.turn */
    count();
    settled(is);
    if
    :: running && failure ->
        failure = false;
#if WRONG != 3
        running = false; wanted_fresh = false; undone++
#endif
    :: running && !failure && is -> running = false; done++
    :: else
    fi
}

inline shed() { /* one of another generation, as far as the others make up for it */
    count();
    i = 0;
    do
    :: i == SEATS + 1 -> break
    :: i < SEATS + 1 && fresh[i] != wanted_fresh && phase[i] == BOOTING -> phase[i] = LEAVING; break
    :: i < SEATS + 1 && fresh[i] != wanted_fresh && phase[i] == READY && CAN_MISS ->
        phase[i] = LEAVING;
        assert(SPARE == 0 || ready - 1 >= WANTED); /* a reload never lowers what is ready below what is wanted */
        break
    :: else -> i++
    od
}

inline fill() { /* one that is missing, where there is room */
    count();
    i = 0;
    do
    :: i == SEATS + 1 || mine >= WANTED || living >= WANTED + SPARE -> break
    :: i < SEATS + 1 && mine < WANTED && living < WANTED + SPARE && phase[i] == NONE ->
        phase[i] = BOOTING; fresh[i] = wanted_fresh; break
    :: else -> i++
    od;
    i = 0; lives = 0;
    do
    :: i == SEATS + 1 -> break
    :: else -> lives = lives + (phase[i] != NONE); i++
    od;
    assert(lives <= WANTED + SPARE)
}

/* Pool.handle, once for whatever has happened: turn the rollout, let go who is not wanted, make who is missing. */
active proctype Pool() {
    byte i, lives;
    bool is;
    d_step {
        do
        :: i == WANTED -> break
        :: else -> phase[i] = READY; i++
        od;
        do
        :: i == SEATS + 1 -> break
        :: else -> phase[i] = NONE; i++
        od;
        running = true;
        wanted_fresh = true
    };
    atomic {
        for (i : 0 .. SEATS) { run World(i) }
    };
    do
    :: d_step { turn(); shed(); fill(); i = 0; lives = 0; is = false; living = 0; ready = 0; mine = 0 }
    od
}

/* What happens to whoever has this place. */
proctype World(byte me) {
    do
    :: d_step { phase[me] == BOOTING && !(bad && fresh[me]) -> phase[me] = READY }
    :: d_step { phase[me] == BOOTING && fresh[me] && bad -> phase[me] = NONE; failure = failure || (running && wanted_fresh) }
    :: d_step { phase[me] == LEAVING -> phase[me] = NONE }
    :: d_step { phase[me] == READY && deaths < DEATHS -> phase[me] = NONE; deaths++ }
    od
}

active proctype Author() { /* of the new code */
    if
    :: bad = true
    :: skip
    fi
}

ltl ends { <> [] (done + undone == 1) }
