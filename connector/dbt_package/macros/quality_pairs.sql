{#-
    What people say beside what the model said: one row per text, version and field that somebody judged.

    `gold` and `overrides` have one row per text, `text_key` and a column per field, null where nobody judged it. An override
    counts as gold and wins over it. `label_value` is the model's own label of that version, never one that people put
    in its place or that was imported, and null where the text has none. There is a row for every version with answers,
    and for the task's. Fields of free text are left out: no measure fits them.
-#}
{% macro quality_pairs(task, labels, gold, overrides=none) %}
{%- set task = dbt_labels.task(task) -%}
{%- set fields = dbt_labels.judged_fields(task) -%}
{%- set names = fields | map(attribute="name") | list -%}
with gold as (
    {{ dbt_labels.judgements(gold, fields) }}
),
{%- if overrides is not none %}

overrides as (
    {{ dbt_labels.judgements(overrides, fields) }}
),
{%- endif %}

judged as (
    {%- if overrides is none %}
    select * from gold
    {%- else %}
    select * from overrides

    union all

    select gold.*
    from gold
    where not exists (
        select 1
        from overrides
        where overrides.text_key = gold.text_key and overrides.field = gold.field
    )
    {%- endif %}
),

labelled as (
    -- what was imported says nothing of how this task asks
    select *
    from (
        {{ dbt_labels.labelled(task, labels, ["text_key", "version"] + names + ["batch_key", "labelled_at"]) }}
    ) as every_label
    where batch_key is not null
),

ranked as (
    select
        labelled.*,
        row_number() over (partition by text_key, version order by _distance, labelled_at, batch_key) as _place
    from labelled
    where exists (select 1 from judged where judged.text_key = labelled.text_key)
),

answers as (
    {%- for field in fields %}
    select
        text_key,
        version,
        '{{ field.name }}' as field,
        {{ dbt_labels.value_text(adapter.quote(field.name), field.type) }} as value
    from ranked
    where _place = 1
    {{- "\n\n    union all\n" if not loop.last }}
    {%- else %}
    select
        text_key,
        version,
        cast(null as {{ dbt.type_string() }}) as field,
        cast(null as {{ dbt.type_string() }}) as value
    from ranked
    where 1 = 0
    {%- endfor %}
),

versions as (
    select version from labelled

    union

    select cast({{ task.version }} as {{ dbt.type_bigint() }}) as version
)

select
    cast('{{ task.table }}' as {{ dbt.type_string() }}) as label_table,
    versions.version,
    judged.text_key,
    judged.field,
    cast(
        case
            {%- for field in fields %}
            when judged.field = '{{ field.name }}' then '{{ field.type }}'
            {%- else %}
            when 1 = 0 then null
            {%- endfor %}
        end as {{ dbt.type_string() }}
    ) as field_type,
    judged.value as gold_value,
    answers.value as label_value
from judged
cross join versions
left join answers
    on judged.text_key = answers.text_key
    and judged.field = answers.field
    and versions.version = answers.version
{%- endmacro %}
