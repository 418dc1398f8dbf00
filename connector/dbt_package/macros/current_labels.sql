{#-
    The labels to use now: per text, those of the highest labelled version not above the task's. One row per text.

    `labels` is the task's source table, `task` the name of its pending model. Old labels stand until the new are there.
-#}
{% macro current_labels(labels, task) %}
{%- set task = dbt_labels.task(task) -%}
{%- set read_from = dbt_labels.read_from_relation(task.table) -%}
{%- set columns -%}
    text_key,
        version,
        {%- for field in task.fields %}
        {{ adapter.quote(field.name) }},
        {%- endfor %}
        model,
        prompt_hash,
        batch_key,
        labelled_at
{%- endset -%}
with labelled as (
    select
        {{ columns }},
        0 as distance
    from {{ labels }}
    where outcome = 'labelled' and version <= {{ task.version }}
    {%- if read_from is not none %}

    union all

    select
        {{ columns }},
        1 as distance
    from {{ read_from }}
    where outcome = 'labelled' and version <= {{ task.version }}
    {%- endif %}
),

ranked as (
    select
        labelled.*,
        row_number() over (
            partition by text_key
            order by version desc, distance, labelled_at, batch_key
        ) as place
    from labelled
)

select
    {{ columns }}
from ranked
where place = 1
{%- endmacro %}
