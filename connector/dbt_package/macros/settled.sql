{#-
    The texts that are *not* pending for a task, and `why`: labelled, finally rejected, or in flight in a live batch.

    The single place that decides this. The pending macro uses it, and the connector runs it again on whatever the
    pending model returns, so that a stale table can not have a text paid for twice. A key can appear more than once.
    `read_from` is another schema's table of labels (dbt_labels_read_from), where there is one. A relation that gets a name
    here stands in brackets: with `--empty` dbt writes one that has a name already.
-#}
{% macro settled(table, version, labels, claims, events, read_from=none) %}
{%- set holding = dbt_labels.batch_states() | selectattr("holds") | map(attribute="name") | list -%}
    select
        text_key,
        'labelled' as why
    from {{ labels }}
    where version = {{ version }} and outcome = 'labelled'

    union all

    -- a reopening carries the attempt of the rejection that it lifts
    select
        text_key,
        'rejected' as why
    from {{ labels }}
    where version = {{ version }} and outcome in ('rejected', 'reopened')
    group by text_key
    having
        max(case when outcome = 'rejected' then attempt else 0 end)
        > max(case when outcome = 'reopened' then attempt else -1 end)

    union all

    select
        claimed.text_key,
        'in_flight' as why
    from (select * from {{ claims }}) as claimed
    where
        claimed.label_table = '{{ table }}'
        and claimed.version = {{ version }}
        and exists (
            select 1
            from ({{ dbt_labels.batches(events) }}) as batches
            where
                batches.batch_key = claimed.batch_key
                and batches.state in ('{{ holding | join("', '") }}')
        )
    {%- if read_from is not none %}

    union all

    select
        text_key,
        'labelled' as why
    from {{ read_from }}
    where version = {{ version }} and outcome = 'labelled'
    {%- endif %}
{%- endmacro %}
