{#- The tables of labels are named by the project's tasks, which dbt knows only when it runs. -#}
with final as (
    {% for task in dbt_labels.tasks() %}
    select
        '{{ task.table }}' as label_table,
        rejections.*
    from ({{ dbt_labels.rejections(dbt_labels.labels_relation(task.table)) }}) as rejections
    {{ "union all" if not loop.last }}
    {% else %}
    select
        cast(null as {{ dbt.type_string() }}) as label_table,
        cast(null as {{ dbt.type_string() }}) as text_key,
        cast(null as {{ dbt.type_bigint() }}) as version,
        cast(null as {{ dbt.type_bigint() }}) as attempt,
        cast(null as {{ dbt.type_string() }}) as reason,
        cast(null as {{ dbt.type_string() }}) as raw,
        cast(null as {{ dbt.type_string() }}) as batch_key,
        cast(null as {{ dbt_labels.type_timestamp() }}) as rejected_at
    where 1 = 0
    {% endfor %}
)

select * from final
