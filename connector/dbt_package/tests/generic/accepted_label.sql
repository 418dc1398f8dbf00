{#-
    Holds a label column to the values that its task declares. Rows of older versions keep the values of their time, but not
    where a person decided: `overridden_fields` of current labels says so. A relation without versions is held as a whole.

    On a task's source table the task is found by the table; elsewhere name its pending model: `arguments: {task: ...}`.
-#}
{% test accepted_label(model, column_name, task=none) %}
{%- if not execute -%}
    select 1 as no_task where 1 = 0
{%- else -%}
    {%- set wanted = task -%}
    {%- set task = dbt_labels.task_of_test(wanted) -%}
    {%- if task is none -%}
        {{ exceptions.raise_compiler_error("accepted_label: no task for `" ~ (wanted or model) ~ "`") }}
    {%- endif -%}
    {%- set fields = task.fields | selectattr("name", "equalto", column_name) | list -%}
    {%- if not fields or not fields[0]["values"] -%}
        {{ exceptions.raise_compiler_error("accepted_label: task `" ~ task.name ~ "` has no values for `" ~ column_name ~ "`; where its fields have changed, run `dbt-labels sync`") }}
    {%- endif -%}
    {%- set field = fields[0] -%}
    {%- set present = dbt_labels.column_names(model) -%}
    {%- set values = (field["values"].keys() if field["values"] is mapping else field["values"]) | list -%}
with labels as (
    select
        text_key,
        {{ adapter.quote(column_name) }}
    from {{ model }}
    where
        {{ adapter.quote(column_name) }} is not null
        {%- if not present or "version" in present %}
        and (
            version = {{ task.version }}
            {%- if "overridden_fields" in present %}
            or {{ dbt.position("'," ~ column_name ~ ",'", dbt.concat(["','", "overridden_fields", "','"])) }} > 0
            {%- endif %}
        )
        {%- endif %}
),

chosen as (
    {% if field.type == "any_of" -%}
    {{ dbt_labels.unnest_labels("labels", column_name, ["text_key"]) }}
    {%- else -%}
    select
        text_key,
        {{ adapter.quote(column_name) }} as value
    from labels
    {%- endif %}
)

select *
from chosen
where value is null or value not in (
    {%- for value in values %}{{ dbt_labels.text_literal(value) }}{{ ", " if not loop.last }}{% endfor -%}
)
{%- endif %}
{% endtest %}
