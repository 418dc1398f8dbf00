{#- The tables of labels are named by the project's tasks, which dbt knows only when it runs. -#}
with decisions as (
    {% for task in dbt_labels.tasks() %}
    select
        '{{ task.table }}' as label_table,
        text_key,
        version,
        attempt,
        outcome,
        reason,
        raw,
        batch_key,
        labelled_at
    from {{ dbt_labels.labels_relation(task.table) }}
    where outcome in ('labelled', 'rejected', 'reopened')
    {{ "union all" if not loop.last }}
    {% else %}
    select
        cast(null as {{ dbt.type_string() }}) as label_table,
        cast(null as {{ dbt.type_string() }}) as text_key,
        cast(null as {{ dbt.type_bigint() }}) as version,
        cast(null as {{ dbt.type_bigint() }}) as attempt,
        cast(null as {{ dbt.type_string() }}) as outcome,
        cast(null as {{ dbt.type_string() }}) as reason,
        cast(null as {{ dbt.type_string() }}) as raw,
        cast(null as {{ dbt.type_string() }}) as batch_key,
        cast(null as {{ dbt.type_timestamp() }}) as labelled_at
    where 1 = 0
    {% endfor %}
),

-- a label over everything, then the latest of rejected and reopened: a reopening carries the attempt that it lifts
ranked as (
    select
        decisions.*,
        row_number() over (
            partition by label_table, version, text_key
            order by
                case outcome when 'labelled' then 0 else 1 end,
                attempt desc,
                case outcome when 'reopened' then 0 else 1 end,
                labelled_at,
                batch_key
        ) as place
    from decisions
),

final as (
    select
        label_table,
        text_key,
        version,
        attempt,
        reason,
        raw,
        batch_key,
        labelled_at as rejected_at
    from ranked
    where place = 1 and outcome = 'rejected'
)

select * from final
