{#-
    The whole pending model: distinct texts that still need a label of the task's version, one row per text.

    Arguments and columns: `macros.yml`. Reads the task of the model being built.
-#}
{% macro pending(texts, labels, claims, events, age=none, edited=none) %}
{%- set task = dbt_labels.task() -%}
{%- set text = adapter.quote(task.text) -%}
with settled as (
    {{ dbt_labels.settled(
        task.table, task.version, labels, claims, events, dbt_labels.read_from_relation(task.table)
    ) }}
),

-- before equal texts are grouped: most are settled, and need not be
open_texts as (
    select *
    from (select * from {{ texts }}) as texts
    where not exists (select 1 from settled where settled.text_key = texts.text_key)
),

pending as (
    select
        text_key,
        min({{ text }}) as {{ text }},
        count(*) as occurrences
        {%- if age %},
        min({{ age }}) as pending_since
        {%- endif %}
        {%- if edited %},
        max(case when {{ edited }} then 1 else 0 end) = 1 as is_edited
        {%- endif %}
    from open_texts
    where not {{ dbt_labels.is_blank(text) }}
    group by text_key
)

select * from pending
{%- endmacro %}
