{#-
    One row per batch: its state and what its events say of it. `events` is the relation of label_events.

    A batch's state is its event of highest rank, never the latest by clock: `submitted` outranks `released`, because a
    batch that turns out to exist is live whatever was thought of it. A batch without `planned` was never intended.
-#}
{% macro batches(events) %}
{%- set ranked = dbt_labels.batch_states() -%}
{%- set rank -%}
case event {%- for state in ranked %} when '{{ state.name }}' then '{{ "%02d" | format(loop.index) }}' {%- endfor %} end
{%- endset -%}
    select
        batch_key,
        max(project) as project,
        max(label_table) as label_table,
        max(version) as version,
        case max({{ rank }})
            {%- for state in ranked %}
            when '{{ "%02d" | format(loop.index) }}' then '{{ state.name }}'
            {%- endfor %}
        end as state,
        max(run_key) as run_key,
        max(provider) as provider,
        max(organisation) as organisation,
        max(provider_project) as provider_project,
        max(model) as model,
        max(price) as price,
        max(claims) as claims,
        max(requests) as requests,
        max(input_bytes) as input_bytes,
        max(enqueued_tokens) as enqueued_tokens,
        max(bound_usd) as bound_usd,
        max(expected_usd) as expected_usd,
        max(input_file_id) as input_file_id,
        max(file_created_at) as file_created_at,
        max(witness_file_id) as witness_file_id,
        max(provider_batch_id) as provider_batch_id,
        max(provider_status) as provider_status,
        max(output_file_id) as output_file_id,
        max(error_file_id) as error_file_id,
        max(completed) as completed,
        max(failed) as failed,
        max(labelled) as labelled,
        max(rejected) as rejected,
        max(retried) as retried,
        max(input_tokens) as input_tokens,
        max(cached_tokens) as cached_tokens,
        max(output_tokens) as output_tokens,
        max(reasoning_tokens) as reasoning_tokens,
        max(cost_usd) as cost_usd,
        max(uncosted) as uncosted,
        {%- for column in ["reason", "message"] %}
        -- of the event that gives the state: the greatest is that of the highest rank, which stands in front
        nullif(substr(max({{ dbt.concat([rank, "coalesce(" ~ column ~ ", '')"]) }}), 3), '') as {{ column }},
        {%- endfor %}
        max(task_snapshot) as task_snapshot,
        min(case when event = 'planned' then event_at end) as planned_at,
        max(case when event = 'creating' then event_at end) as creating_at,
        max(case when event = 'fencing' then event_at end) as fencing_at,
        min(case when event = 'submitted' then event_at end) as submitted_at,
        min(case when event = 'ended' then event_at end) as ended_at,
        min(case when event = 'loaded' then event_at end) as loaded_at,
        min(case when event = 'refused' then event_at end) as refused_at
    from {{ events }}
    group by batch_key
    having count(case when event = 'planned' then 1 end) > 0
{%- endmacro %}
