"""LENT TO USERS: a world in which a pool can be tried without a process, a clock or a wait.

>>> from ghostd.core.policy import Policy
>>> from ghostd.testing.world import World
>>> report = World(Policy(spirits=3), seed=7).run(5_000)
>>> report.steps
5000
"""
