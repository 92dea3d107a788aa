"""Methods: everything the user can do to data, one file each.

A method is a module ``methods/<group>/<name>.py`` (or an entry point ``splatom.methods``, named ``group.name``) with
one :class:`~splatom.data.MethodParams` subclass and one function ``run(data, job)``.
"""

from splatom.methods.registry import GROUPS, Method, execute, find, get, run

__all__ = ["GROUPS", "Method", "execute", "find", "get", "run"]
