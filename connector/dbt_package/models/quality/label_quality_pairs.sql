{#- The gold relations are named by the project's tasks, which dbt knows only when it runs. -#}
{%- set parts = [] -%}
{%- for task in dbt_labels.tasks() -%}
    {%- set gold = dbt_labels.named_relation(task, "gold") -%}
    {%- if gold is not none -%}
        {%- set labels, overrides = dbt_labels.labels_relation(task.table), dbt_labels.named_relation(task, "overrides") -%}
        {%- do parts.append(dbt_labels.quality_pairs(task, labels, gold, overrides)) -%}
    {%- endif -%}
{%- endfor -%}
with final as (
    {%- for part in parts %}
    select * from (
        {{ part }}
    ) as task_{{ loop.index }}
    {{- "\n\n    union all\n" if not loop.last }}
    {%- else %}
    select
        cast(null as {{ dbt.type_string() }}) as label_table,
        cast(null as {{ dbt.type_bigint() }}) as version,
        cast(null as {{ dbt.type_string() }}) as text_key,
        cast(null as {{ dbt.type_string() }}) as field,
        cast(null as {{ dbt.type_string() }}) as field_type,
        cast(null as {{ dbt.type_string() }}) as gold_value,
        cast(null as {{ dbt.type_string() }}) as label_value
    where 1 = 0
    {%- endfor %}
)

select * from final
