"""What a task's story finds to do: whether bunches lack a site or their inputs. One query, so that looking is cheap."""

from sqlalchemy import Connection, RowMapping, text

from panda.errors import NotFound


def open_ends(connection: Connection, task_id: int) -> RowMapping:
    """Read a task's stage, whether it has bunches without a site, and bunches or blocks whose inputs are not settled.

    Raises NotFound.
    """
    query = text("""
        SELECT t.id, t.stage,
               EXISTS (SELECT 1 FROM bunch b WHERE b.task_id = t.id AND b.open
                       AND b.state IN ('defined', 'waiting')) AS homeless,
               EXISTS (SELECT 1 FROM bunch b WHERE b.task_id = t.id AND b.open
                       AND b.state = 'assigned' AND NOT b.staged)
               OR EXISTS (SELECT 1 FROM block k WHERE k.task_id = t.id AND k.kind = 'dis'
                          AND k.state = 'planned') AS unstaged
        FROM production_task t WHERE t.id = :task
    """)
    row = connection.execute(query, {"task": task_id}).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no production task {task_id}", hint="'panda tasks' lists them")
    return row
