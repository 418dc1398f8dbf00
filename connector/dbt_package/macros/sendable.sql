{#-
    The texts that may be sent now: what a pending relation lists, less what is settled, whatever the relation says.

    `pending` is the pending model's relation, `text` its text column. Gives `text_key`, `text`, the number of the coming `attempt`,
    `truncations` so far, whether it goes `alone` because it failed in company, and why it is pending: new, edited, version raised
    or retry. `of_batches` narrows to texts claimed by one of these; `edited` tells that `pending` has a column `is_edited`.
-#}
{% macro sendable(pending, text, table, version, labels, claims, events, of_batches=none, edited=false) %}
with history as (
    {{ dbt_labels.text_history(labels, version) }}
),

settled as (
    {{ dbt_labels.settled(table, version, labels, claims, events, dbt_labels.read_from_relation(table)) }}
),

older as (
    select distinct text_key
    from {{ labels }}
    where version < {{ version }} and outcome = 'labelled'
)

select
    pending.text_key,
    pending.{{ adapter.quote(text) }} as text,
    coalesce(history.attempt, 0) + 1 as attempt,
    coalesce(history.truncations, 0) as truncations,
    coalesce(history.unpacked, 0) > 0 as alone,
    case
        when history.text_key is not null then 'retry'
        when older.text_key is not null then 'version raised'
        {%- if edited %}
        when pending.is_edited then 'edited'
        {%- endif %}
        else 'new'
    end as why
from {{ pending }} as pending
left join history on pending.text_key = history.text_key
left join older on pending.text_key = older.text_key
where
    not exists (select 1 from settled where settled.text_key = pending.text_key)
    and not {{ dbt_labels.is_blank("pending." ~ adapter.quote(text)) }}
    {%- if of_batches is not none %}
    and exists (
        select 1
        from {{ claims }} as claimed
        where
            claimed.text_key = pending.text_key
            and claimed.label_table = '{{ table }}'
            and claimed.version = {{ version }}
            and claimed.batch_key in ('{{ of_batches | join("', '") }}')
    )
    {%- endif %}
{%- endmacro %}
