"""DOES. One thread, one loop, one place that blocks: facts from the kernel to the pool, orders from the pool to the kernel."""
