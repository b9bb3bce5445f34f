"""DOES. One thread, one loop, one place that blocks: facts go from the kernel to the pool, orders the other way."""
