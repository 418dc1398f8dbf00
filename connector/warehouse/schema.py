"""The labels schema: whether its tables are there and fit the tasks."""

from __future__ import annotations

from collections.abc import Iterable

from connector.errors import WarehouseError
from connector.task import Boolean, Integer, Task
from connector.warehouse.session import Session


def check_tables(session: Session, tasks: Iterable[Task]) -> None:
    """Raise `WarehouseError` where a table is missing, lacks a column or has one of another type, all at once."""
    tasks = list(tasks)
    statements = session.macro("ddl", tasks=[task.model_dump(mode="json") for task in tasks])
    mistakes = [f"missing in the labels schema: {sql.splitlines()[0].rstrip(' (')}" for sql in statements]
    for task in tasks:
        relation = session.relation(task.table)
        present = session.columns(relation)
        for field in task.fields:
            found = present.get(field.name)
            wanted = "boolean" if isinstance(field, Boolean) else "bigint" if isinstance(field, Integer) else "varchar"
            if found is not None and found != wanted:
                mistakes.append(
                    f"task `{task.name}`: column `{field.name}` of {relation} is {found}, the field's type asks for"
                    f" {wanted}: name the field anew, or move the task to another `table`"
                )
    if mistakes:
        hint = "`dbt build` makes what is missing; `dbt-labels ddl` prints the statements" if statements else None
        raise WarehouseError("\n".join(mistakes), hint)
