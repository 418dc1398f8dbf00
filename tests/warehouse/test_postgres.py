"""What only a PostgreSQL can be: of another encoding, strict about the case of names, empty for two at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ProjectError, WarehouseError
from connector.warehouse.tables import Ledger
from connector.warehouse.texts import count_texts
from tests.contestant import Contestant
from tests.lab import Server
from tests.warehouse.labs import COMMENTS, PostgresLab
from tests.warehouse.server import PostgresServer

FIRST_BUILDS, MOST_BUILDS = 3, 10


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_can_not_store_every_text_is_refused_before_anything_is_made_in_it(
    postgres: PostgresServer, tmp_path: Path, encoding: str
) -> None:
    lab = PostgresLab(tmp_path, postgres)
    lab.use(postgres.new_database(encoding))
    with pytest.raises(WarehouseError, match=f"has the encoding {encoding}: texts and their keys need UTF8") as told:
        lab.build()
    assert told.value.hint == "create a database with `encoding 'UTF8'`"
    assert lab.sql("select nspname from pg_namespace where nspname like 'main%'") == []


def test_a_text_column_with_capitals_is_found_as_it_is_written(postgres_lab: PostgresLab, server: Server) -> None:
    lab = postgres_lab
    staging = lab.folder / "models" / "stg_comments.sql"
    staging.write_text(staging.read_text().replace("comment_text,", 'comment_text as "Comment_Text",'))
    lab.edit_task(text="Comment_Text")
    lab.dbt("build", "--full-refresh", "--select", "+comments_to_label")
    assert count_texts(lab.project, lab.project.tasks[0]).pending == {"new": 3}
    assert lab.run(server.provider()).labelled == 3
    assert set(lab.labels()) == {"Loved it", "Hated it", "The music was fine"}


def test_roles_may_read_the_labels_after_the_first_build_and_not_the_ledger(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    lab = PostgresLab(tmp_path, postgres)
    lab.add_comments(COMMENTS)
    lab.sql("do $$ begin create role reporter; exception when duplicate_object then null; end $$")
    settings = lab.folder / "dbt_project.yml"
    settings.write_text(settings.read_text() + "on-run-end: \"{{ dbt_labels.grant_select(['reporter']) }}\"\n")
    lab.build()

    def may_read(table: str) -> bool:
        return bool(lab.sql(f"select has_table_privilege('reporter', 'main_labels.{table}', 'select')")[0][0])

    assert lab.sql("select has_schema_privilege('reporter', 'main_labels', 'usage')") == [(True,)]
    assert [may_read(table) for table in ("comment_labels", "label_events", "label_claims")] == [True, False, False]
    lab.add_task()
    lab.dbt("build")
    assert may_read("comment_moods")


def test_a_schema_whose_name_would_be_cut_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    lab = PostgresLab(tmp_path, postgres)
    lab.add_comments(COMMENTS)
    profiles = lab.folder / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("schema: main\n", f"schema: {'m' * 57}\n"))
    with pytest.raises(ProjectError):
        lab.build()
    with pytest.raises(WarehouseError, match="has more than 63 bytes"):
        Ledger(lab.project, "").check(lab.project.tasks)
    assert lab.sql("select nspname from pg_namespace where nspname like 'mmm%\\_%'") == []
    profiles.write_text(profiles.read_text().replace("m" * 57, "m" * 56))
    lab.reparse()
    lab.build()
    assert lab.sql(f"select count(*) from {'m' * 56}_labels.comment_labels") == [(0,)]


def test_of_two_first_builds_at_once_on_an_empty_database_each_ends_well_or_says_to_run_again_and_then_does(
    postgres: PostgresServer, server: Server, tmp_path: Path
) -> None:
    lab = PostgresLab(tmp_path / "one", postgres)
    lab.add_comments(COMMENTS)
    shutil.copytree(lab.folder, tmp_path / "two", symlinks=True)
    empty = postgres.set_aside(lab.name)
    contestants = [Contestant(lab.folder), Contestant(tmp_path / "two")]

    def begin_at_once(build: bool) -> list[dict[str, Any]]:
        postgres.copy_database(empty, lab.name)
        for contestant in contestants:
            contestant.go(server, build=build)
        return [contestant.answer() for contestant in contestants]

    met = built = 0
    try:
        answers = begin_at_once(build=False)  # all that is loaded once is loaded after this
        assert [answer["error"].startswith("missing in the labels schema") for answer in answers] == [True] * 2
        while built < FIRST_BUILDS or (met == 0 and built < MOST_BUILDS):
            answers = begin_at_once(build=True)
            for contestant, answer in zip(contestants, answers, strict=True):
                if answer["code"] != 0:
                    met += 1
                    assert answer["error"].startswith(("`dbt ", "another run may send and load")), answer
                    assert "run again" in answer["hint"] or "wait for it to end" in answer["hint"], answer
                    contestant.go(server, build=True)
                    assert contestant.answer()["code"] == 0
            assert set(lab.labels()) == {"Loved it", "Hated it", "The music was fine"}
            built += 1
            assert len(server.executions()) == 3 * built, "each text is paid for once"
    finally:
        for contestant in contestants:
            contestant.end()
    assert met > 0, f"of {built} times the builds never met: the test shows nothing"
