{#-
    Holds the labels of a task's current version to what people say: fails where `metric` of `field` is below `at_least`, and
    where no text that people judged has a label yet. It finds one row: what there is.

    The task is found by its source table or its pending model; elsewhere name the pending model: `task`. The relation that
    the task names under `gold` is used; `gold: ref(...)` has dbt build it first.
-#}
{% test label_quality(model, field, metric, at_least, task=none, gold=none) %}
{%- if not execute -%}
    select 1 as no_task where 1 = 0
{%- else -%}
    {%- set wanted = task -%}
    {%- set task = dbt_labels.task_of_test(wanted) -%}
    {%- if task is none -%}
        {{ exceptions.raise_compiler_error("label_quality: no task for `" ~ (wanted or model) ~ "`") }}
    {%- endif -%}
    {%- set fields = dbt_labels.judged_fields(task) | selectattr("name", "equalto", field) | list -%}
    {%- if not fields -%}
        {{ exceptions.raise_compiler_error(
            "label_quality: task `" ~ task.name ~ "` has no field `" ~ field ~ "` that can be measured"
        ) }}
    {%- endif -%}
    {%- set metrics = ["exact_match", "jaccard", "micro_f1", "macro_f1"] if fields[0].type == "any_of"
        else ["accuracy", "kappa", "macro_f1"] -%}
    {%- if metric not in metrics -%}
        {{ exceptions.raise_compiler_error(
            "label_quality: `" ~ field ~ "` has no metric `" ~ metric ~ "`, only " ~ metrics | join(", ")
        ) }}
    {%- endif -%}
    {%- set at_least = at_least | float(none) -%}
    {%- if at_least is none or not -1 <= at_least <= 1 -%}
        {{ exceptions.raise_compiler_error("label_quality: `at_least` must be a number from -1 to 1, as " ~ metric ~ " is") }}
    {%- endif -%}
    {%- if gold is none and not task.get("gold") -%}
        {{ exceptions.raise_compiler_error(
            "label_quality: task `" ~ task.name ~ "` has no `gold`: name the model or seed there that says what people say"
        ) }}
    {%- endif -%}
    {%- set named = dbt_labels.named_relation(task, "gold") -%}
    {%- if gold is not none and gold is not string and named is not none
        and gold.identifier | lower != named.identifier | lower -%}
        {{ exceptions.raise_compiler_error(
            "label_quality: `gold` is " ~ gold ~ ", but task `" ~ task.name ~ "` names `" ~ task.gold
            ~ "`, by which `run` judges: name one of them in both"
        ) }}
    {%- endif -%}
    {%- set gold = gold or named -%}
with pairs as (
    {%- if gold is none %}
    select
        '{{ task.table }}' as label_table,
        {{ task.version }} as version,
        '{{ field }}' as field,
        '{{ fields[0].type }}' as field_type,
        '' as text_key,
        '' as gold_value,
        '' as label_value
    where 1 = 0
    {%- else %}
    {{ dbt_labels.quality_pairs(
        task, dbt_labels.labels_relation(task.table), gold, dbt_labels.named_relation(task, "overrides")
    ) }}
    {%- endif %}
),

measured as (
    {{ dbt_labels.quality_metrics("pairs") }}
),

found as (
    select
        coalesce(max(case when metric = 'n' then value end), 0) as texts,
        coalesce(max(case when metric = 'missing' then value end), 0) as missing,
        max(case when metric = '{{ metric }}' then value end) as value,
        max(case when metric = '{{ metric }}' then low end) as low,
        max(case when metric = '{{ metric }}' then high end) as high
    from measured
    where version = {{ task.version }} and field = '{{ field }}'
)

select
    '{{ task.table }}' as label_table,
    {{ task.version }} as version,
    '{{ field }}' as field,
    '{{ metric }}' as metric,
    {{ at_least }} as at_least,
    found.*
from found
where value is null or value < {{ at_least }}
{%- endif %}
{% endtest %}
