"""`dbt-labels init` on a shop's project, in processes of their own: from nothing to labels, and all that it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from connector import __version__
from connector.adoption.package import SOURCE
from tests.adoption.shop import INIT, PACKAGE, Shop
from tests.command import Command, run_command
from tests.terminal import run_on_terminal


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Give a shop whose packages are installed and whose models are built, for others to copy."""
    shop = Shop(tmp_path_factory.mktemp("shop") / "shop")
    shop.make()
    shop.dbt("deps")
    shop.done("dbt", "build")  # by a process that ends, so that the file has everything
    return shop


@pytest.fixture
def shop(kept: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Give the shop as it was before dbt-labels."""
    shutil.copytree(kept.folder, tmp_path / "shop", symlinks=True)
    shutil.copy(kept.database, tmp_path / "shop.duckdb")
    monkeypatch.setenv("SHOP_DUCKDB", str(tmp_path / "shop.duckdb"))
    return Shop(tmp_path / "shop")


@pytest.fixture
def command(shop: Shop, capfd: pytest.CaptureFixture[str]) -> Command:
    """Give what runs a command on the shop's project, in this process."""
    return lambda *arguments: run_command(shop, capfd, *arguments)


@pytest.fixture
def did(command: Command) -> Callable[..., str]:
    """Give what runs a command that has to succeed, and returns what it said."""

    def run(*arguments: str) -> str:
        said = command(*arguments)
        assert said.code == 0, said
        return said.out

    return run


def test_init_then_dbt_deps_then_build_labels_a_project_that_is_not_ours(shop: Shop, did: Callable[..., str]) -> None:
    pytest.importorskip("onnxruntime")
    shop.label()
    shop.dbt("build")

    mine = shop.folder / "transform" / "labeling" / "reviews_to_label.yml"
    mine.write_text(mine.read_text().replace("likes it", "is happy with the shop"))
    before = shop.files()
    assert "task `reviews_to_label` is there already and is left as it is" in did(*INIT)
    assert shop.files() == before


def test_what_is_written_has_the_projects_own_style(shop: Shop, did: Callable[..., str]) -> None:
    did(*INIT)
    folder = shop.folder / "transform" / "labeling"
    task = (folder / "reviews_to_label.yml").read_text()
    assert task.startswith("version: 2\n\nmodels:\n    - name: reviews_to_label\n      description: ")
    assert "\n      config:\n          materialized: view\n          meta:\n              dbt_labels:\n" in task
    assert "\n            tests:\n                - unique\n                - not_null\n" in task
    keyed = (folder / "reviews_with_key.sql").read_text()
    assert "SELECT * FROM {{ ref('stg_reviews') }}" in keyed
    assert '"' not in keyed
    packages = (shop.folder / "packages.yml").read_text()
    assert packages == (
        "# What finance uses as well; ask them before you change anything.\n"
        "packages:\n"
        "    - local: internal/money   # until it is published\n"
        "    - local: packages/dbt_labels\n"
        "\n"
        "# - package: dbt-labs/dbt_utils\n"
    )


def test_windows_line_endings_stay_and_are_used(shop: Shop, did: Callable[..., str]) -> None:
    for name in ("dbt_project.yml", "packages.yml", "transform/staging/stg_reviews.yml"):
        path = shop.folder / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    before = (shop.folder / "packages.yml").read_bytes()
    did(*INIT)
    after = (shop.folder / "packages.yml").read_bytes()
    assert after.replace(b"    - local: packages/dbt_labels\r\n", b"") == before
    for name in (
        "prompts/reviews.md",
        "transform/labeling/reviews_to_label.yml",
        "transform/labeling/reviews_with_key.sql",
    ):
        written = (shop.folder / name).read_bytes()
        assert written.count(b"\n") == written.count(b"\r\n") > 0, name
    shop.dbt("deps")
    did("sync")


def test_the_same_command_again_brings_the_package_to_this_version_and_touches_nothing_else(
    shop: Shop, command: Command, did: Callable[..., str]
) -> None:
    did(*INIT)
    shop.dbt("deps")
    copy = shop.folder / "packages" / "dbt_labels"
    for name in ("dbt_project.yml", "macros/package_version.sql"):
        (copy / name).write_text((copy / name).read_text().replace(__version__, "0.0.9"))
    (copy / "macros" / "gone_since.sql").write_text("{% macro gone_since() %}{% endmacro %}")
    refused = command("sync")
    assert refused.code == 1
    assert f"dbt-labels is {__version__}, but the project's dbt package `dbt_labels` is 0.0.9" in refused.err
    assert f"hint: `dbt-labels init` brings the package to {__version__}" in refused.err
    before = shop.files()

    upgraded = json.loads(did("init", "--json"))
    assert upgraded["package"] == {
        "state": "replaced",
        "folder": "packages/dbt_labels",
        "before": "0.0.9",
        "version": __version__,
    }
    assert (upgraded["written"], upgraded["added"]) == ([], {})
    assert [command.partition(" --")[0] for command in upgraded["next"]] == ["dbt deps"]
    after = shop.files()
    assert {name for name in before if after.get(name) != before[name]} == {
        PACKAGE + "dbt_project.yml",
        PACKAGE + "macros/package_version.sql",
        PACKAGE + "macros/gone_since.sql",
    }
    shop.dbt("deps")
    did("sync")
    assert json.loads(did("init", "--json"))["package"]["state"] == "current"

    (copy / "dbt_project.yml").write_text((copy / "dbt_project.yml").read_text().replace(__version__, "99.0.0"))
    newer = command("init")
    assert newer.code == 1
    assert "the project's dbt package is 99.0.0" in newer.err
    assert "hint: pip install 'dbt-labels==99.0.0'" in newer.err


def test_what_is_missing_is_said_all_at_once_and_nothing_is_written(shop: Shop, command: Command) -> None:
    before = shop.files()
    nothing = command("init")
    assert (nothing.code, nothing.out) == (2, "")
    assert "--model  what has the texts: `stg_reviews`" in nothing.err
    assert "--text   its column with the text" in nothing.err
    columns = command("init", "--model", "stg_reviews")
    assert columns.code == 2
    assert "`review_id`, `order_id`, `review_text`, `reviewed_at`" in columns.err
    assert "--model" not in columns.err
    wrong = command("init", "--model", "stg_reviews", "--text", "order_id", "--age", "when")
    assert wrong.code == 1
    assert "`order_id` is integer, not text" in wrong.err
    assert "`stg_reviews` has no column `when`; it has `review_id`" in wrong.err
    folder = command(*INIT, "--folder", "models")
    assert "`models` is not in the project's model paths: transform" in folder.err
    unknown = command("init", "--model", "stg_review", "--text", "x")
    assert "the project has no model, seed or source table `stg_review`" in unknown.err
    assert "hint: there are: `stg_reviews`" in unknown.err
    assert shop.files() == before


def test_on_a_terminal_it_asks_for_the_model_and_the_columns(shop: Shop) -> None:
    seen = run_on_terminal("init", typed="\n\nreviewed_at\n", folder=shop.folder)
    assert seen.code == 0, seen
    assert "What has the texts to label? There are `stg_reviews`, `ecom.raw_reviews`." in seen.screen.replace("\r", "")
    assert "Model [stg_reviews]:" in seen.screen
    assert "Column with the text [review_text]:" in seen.screen
    assert "prompts/reviews.md: written" in seen.out
    pending = (shop.folder / "transform" / "labeling" / "reviews_to_label.sql").read_text()
    assert "age='reviewed_at'" in pending


def test_on_a_terminal_a_name_that_is_not_there_is_asked_for_again(shop: Shop) -> None:
    typed = ["stg_review", "stg_reviews", "review_txt", "REVIEW_TEXT", "reviewd_at", "reviewed_at", ""]
    seen = run_on_terminal("init", typed="\n".join(typed), folder=shop.folder)
    assert seen.code == 0, seen
    for wrong in ("stg_review", "review_txt", "reviewd_at"):
        assert f"Error: there is no `{wrong}`" in seen.screen
    labeling = shop.folder / "transform" / "labeling"
    assert "age='reviewed_at'" in (labeling / "reviews_to_label.sql").read_text()
    assert "review_text" in (labeling / "reviews_with_key.sql").read_text(), "as the warehouse spells it"


def test_a_project_with_nothing_to_label_is_told_so(shop: Shop) -> None:
    for path in ("transform", "seeds"):
        shutil.rmtree(shop.folder / path, ignore_errors=True)
    seen = run_on_terminal("init", typed="\n", folder=shop.folder)
    assert seen.code == 1
    assert "the project has no model, seed or source table of its own" in seen.screen


def test_what_only_yaml_knows_of_columns_is_offered_with_the_text_before_its_id(shop: Shop) -> None:
    shop.database.unlink()
    seen = run_on_terminal("init", typed="\n\n\n", folder=shop.folder)
    assert seen.code == 0, seen
    assert "Its YAML names `review_id`, `review_text`" in seen.screen
    assert "Column with the text [review_text]:" in seen.screen


def test_columns_that_nobody_could_look_at_are_said(shop: Shop, command: Command) -> None:
    shop.database.unlink()
    said = command("init", "--model", "stg_reviews", "--text", "anything")
    assert said.code == 0
    assert "note: `stg_reviews` is not built, or its database is in use" in said.err
    assert "so nobody looked whether it has `anything`" in said.err


def test_names_that_are_taken_are_said_all_at_once_and_nothing_is_written(
    shop: Shop, command: Command, did: Callable[..., str]
) -> None:
    taken = shop.folder / "transform" / "marts"
    (taken / "reviews_to_label.sql").write_text("SELECT 1 AS one")
    (taken / "label_spend.sql").write_text("SELECT 1 AS one")
    (taken / "theirs.yml").write_text("sources: [{name: labels, schema: raw, tables: [{name: printed}]}]")
    (shop.folder / "prompts").mkdir()
    (shop.folder / "prompts" / "reviews.md").write_text("Something else.")
    before = shop.files()
    refused = command(*INIT)
    assert refused.code == 1
    for said in (
        "nothing was written:",
        "a model is called `reviews_to_label` already: transform/marts/reviews_to_label.sql",
        "the package has a model `label_spend` as well: rename transform/marts/label_spend.sql",
        "a source is called `labels` already: transform/marts/theirs.yml",
        "prompts/reviews.md is there already",
        "hint: `--task` names the pending model",
    ):
        assert said in refused.err
    assert shop.files() == before

    (taken / "label_spend.sql").unlink()
    did(*INIT, "--task", "opinions_to_label", "--source", "llm_labels", "--folder", "transform/opinions")
    shop.dbt("deps")
    shop.dbt("build", "--select", "+opinions_to_label")
    assert shop.sql("select count(*) from analytics.opinions_to_label") == [(3,)]


def test_a_second_task_joins_the_first_ones_source(shop: Shop, did: Callable[..., str]) -> None:
    did(*INIT)
    shop.dbt("deps")
    said = did("init", "--model", "ecom.raw_orders", "--text", "customer", "--task", "customers_to_label")
    assert "transform/labeling/__sources.yml: one line more, `- name: customer_labels`" in said
    source = yaml.safe_load((shop.folder / "transform/labeling/__sources.yml").read_text())["sources"]
    assert [table["name"] for table in source[0]["tables"]] == ["review_labels", "customer_labels"]
    did("sync")
    shop.dbt("build")
    assert shop.sql("select count(*) from analytics.customers_to_label") == [(1,)]


def test_a_second_task_joins_the_first_ones_source_whatever_that_is_called(shop: Shop, did: Callable[..., str]) -> None:
    did(*INIT, "--source", "llm_labels")
    shop.dbt("deps")
    did("init", "--model", "ecom.raw_orders", "--text", "customer", "--task", "customers_to_label")
    sources = yaml.safe_load((shop.folder / "transform/labeling/__sources.yml").read_text())["sources"]
    tables = {source["name"]: [table["name"] for table in source["tables"]] for source in sources}
    assert tables == {"llm_labels": ["review_labels", "customer_labels"]}
    assert "source('llm_labels', 'customer_labels')" in (
        shop.folder / "transform/labeling/customers_to_label.sql"
    ).read_text().replace('"', "'")


def test_a_second_task_has_yaml_of_its_own_where_a_folders_models_share_a_file_that_is_there(
    shop: Shop, did: Callable[..., str]
) -> None:
    transform = shop.folder / "transform"
    for folder in ("staging", "marts"):
        apart = [path for path in (transform / folder).glob("*.yml") if not path.name.startswith("_")]
        models = [model for path in apart for model in yaml.safe_load(path.read_text())["models"]]
        for path in apart:
            path.unlink()
        (transform / folder / f"_{folder}.yml").write_text(yaml.safe_dump({"version": 2, "models": models}))
    did(*INIT)
    shared = transform / "labeling" / "_labeling.yml"
    before = shared.read_bytes()
    shop.dbt("deps")
    did("init", "--model", "ecom.raw_orders", "--text", "customer", "--task", "customers_to_label")
    assert shared.read_bytes() == before
    assert (transform / "labeling" / "customers_to_label.yml").exists()
    did("sync")
    shop.dbt("build", "--select", "+customers_to_label", "+reviews_to_label")
    assert shop.sql("select count(*) from analytics.customers_to_label") == [(1,)]


def test_a_project_in_a_subfolder_with_a_labels_schema_of_its_own(
    shop: Shop, did: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.folder.parent)
    project = shop.folder / "dbt_project.yml"
    project.write_text(project.read_text() + "\nvars:\n    dbt_labels_schema: machine_labels\n")
    said = did(*INIT, "--project-dir", "shop")
    assert f"dbt deps --project-dir shop --profiles-dir {shop.folder}" in said
    shop.dbt("deps")
    shop.dbt("build", "--select", "package:dbt_labels")
    assert shop.sql("select count(*) from machine_labels.review_labels") == [(0,)]


def test_the_copied_package_is_the_commands_own_and_says_its_version(shop: Shop, did: Callable[..., str]) -> None:
    did(*INIT)
    copy = shop.folder / "packages" / "dbt_labels"
    theirs = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert f"# dbt_labels {__version__}\n" in theirs.pop("README.md").decode()
    ours = {path.relative_to(SOURCE).as_posix(): path.read_bytes() for path in SOURCE.rglob("*") if path.is_file()}
    assert theirs == ours


def test_models_and_columns_with_names_that_sql_keeps_for_itself_can_be_labelled(
    shop: Shop, did: Callable[..., str]
) -> None:
    staging = shop.folder / "transform" / "staging"
    columns = '"desc", created as "end"'
    (staging / "stg_order.sql").write_text(f"select id, body as {columns} from raw.raw_reviews")
    shop.dbt("build", "--select", "stg_order")
    did("init", "--model", "stg_order", "--text", "desc", "--age", "end")
    shop.dbt("deps")
    shop.dbt("build")
    assert shop.sql("select count(*) from analytics.order_to_label") == [(3,)]
