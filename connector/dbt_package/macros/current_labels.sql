{#-
    The labels to use now: per text, those of the highest labelled version not above the task's. One row per text.

    `labels` is the task's source table, `task` the name of its pending model. Old labels stand until the new are there.
    A field that the schema read as well (dbt_labels_read_from) does not have yet is null for its labels.
-#}
{% macro current_labels(labels, task) %}
{%- set task = dbt_labels.task(task) -%}
{%- set fields = task.fields | map(attribute="name") | list -%}
{%- set read_from = dbt_labels.read_from_relation(task.table) -%}
with labelled as (
    select
        text_key,
        version,
        {%- for field in fields %}
        {{ adapter.quote(field) }},
        {%- endfor %}
        model,
        prompt_hash,
        batch_key,
        labelled_at,
        0 as distance
    from {{ labels }}
    where outcome = 'labelled' and version <= {{ task.version }}
    {%- if read_from is not none %}
    {%- set types, present = dict(dbt_labels.label_columns(task)), dbt_labels.column_names(read_from) %}

    union all

    select
        text_key,
        version,
        {%- for field in fields %}
        {% if field not in present %}cast(null as {{ types[field] }}) as {% endif %}{{ adapter.quote(field) }},
        {%- endfor %}
        model,
        prompt_hash,
        batch_key,
        labelled_at,
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
    text_key,
    version,
    {%- for field in fields %}
    {{ adapter.quote(field) }},
    {%- endfor %}
    model,
    prompt_hash,
    batch_key,
    labelled_at
from ranked
where place = 1
{%- endmacro %}
