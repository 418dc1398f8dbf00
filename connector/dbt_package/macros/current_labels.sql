{#-
    The labels to use now, one row per text: of the highest version that labelled it, not above the task's.

    Arguments and columns: `macros.yml`. `overridden_fields` lists the fields that a person decided. They have no confidence,
    nor has their row as a whole.
-#}
{% macro current_labels(labels, task, overrides=none) %}
{%- set task = dbt_labels.task(task) -%}
{%- set fields = task.fields | map(attribute="name") | list -%}
{%- set types = dict(dbt_labels.label_columns(task)) -%}
{%- set columns = ["text_key", "version"] + fields + dbt_labels.confidence_columns(task)
    + ["model", "prompt_hash", "batch_key", "labelled_at"] -%}
with labelled as (
    {{ dbt_labels.labelled(task, labels, columns) }}
),

ranked as (
    select
        labelled.*,
        row_number() over (
            partition by text_key
            order by version desc, _distance, labelled_at, batch_key
        ) as _place
    from labelled
    where version <= {{ task.version }}
),

by_model as (
    select * from ranked where _place = 1
)
{%- if overrides is none %}

select
    {%- for column in columns %}
    {{ adapter.quote(column) }},
    {%- endfor %}
    'model' as labelled_by,
    cast(null as {{ dbt.type_string() }}) as overridden_fields
from by_model
{%- else %}
{%- set named = ["''"] -%}
{%- for field in fields %}
    {%- do named.append(
        "case when by_people." ~ adapter.quote(field) ~ " is not null then '," ~ field ~ "' else '' end"
    ) -%}
{%- endfor -%}
,

judged as (
    {{ dbt_labels.judgements(overrides, task.fields) }}
),

by_people as (
    select
        {%- for field in fields %}
        cast(max(case when field = '{{ field }}' then value end) as {{ types[field] }}) as {{ adapter.quote(field) }},
        {%- endfor %}
        text_key
    from judged
    group by text_key
)

select
    {%- for column in columns %}
    {%- set model, people = "by_model." ~ adapter.quote(column), "by_people." ~ adapter.quote(column) %}
    {%- if column in ["text_key"] + fields %}
    coalesce({{ people }}, {{ model }}) as {{ adapter.quote(column) }},
    {%- elif column == "version" %}
    coalesce({{ model }}, {{ task.version }}) as version,
    {%- elif column == "confidence" %}
    case when by_people.text_key is null then {{ model }} end as confidence,
    {%- elif column.endswith("_confidence") %}
    case when by_people.{{ adapter.quote(column[:-11]) }} is null then {{ model }} end as {{ adapter.quote(column) }},
    {%- else %}
    {{ model }},
    {%- endif %}
    {%- endfor %}
    case when by_people.text_key is null then 'model' else 'human' end as labelled_by,
    {#- each field comes with a comma before it, of which the first goes #}
    nullif(substr({{ dbt.concat(named) }}, 2), '') as overridden_fields
from by_model
full outer join by_people on by_model.text_key = by_people.text_key
{%- endif %}
{%- endmacro %}
