"""Endless labelled streams: (seed, step) -> batch, random-access, with held-out sets. Knows no network."""

from richness.data.finite import register_data
from richness.data.streams import TASKS, Task, register_task, task

__all__ = ["TASKS", "Task", "register_data", "register_task", "task"]
