{#- The tables of labels are named by the project's tasks, which dbt knows only when it runs. -#}
with rejections as (
    {% for task in dbt_labels.tasks() %}
    select
        '{{ task.table }}' as label_table,
        labels.text_key,
        labels.version,
        labels.attempt,
        labels.reason,
        labels.raw,
        labels.batch_key,
        labels.labelled_at as rejected_at
    from {{ dbt_labels.labels_relation(task.table) }} as labels
    where
        labels.outcome = 'rejected'
        and not exists (
            select 1
            from {{ dbt_labels.labels_relation(task.table) }} as later
            where
                later.text_key = labels.text_key
                and later.version = labels.version
                and (
                    later.outcome = 'labelled'
                    or (later.outcome = 'rejected' and later.attempt > labels.attempt)
                    or (later.outcome = 'reopened' and later.attempt >= labels.attempt)
                )
        )
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
        cast(null as {{ dbt.type_timestamp() }}) as rejected_at
    where 1 = 0
    {% endfor %}
)

select * from rejections
