with batches as (
    {{ dbt_labels.batches(source("label_ledger", "label_events")) }}
),

final as (
    select
        batch_key,
        project,
        label_table,
        version,
        state,
        state in ('{{ dbt_labels.batch_states() | selectattr("holds") | map(attribute="name") | join("', '") }}')
            as is_live,
        provider,
        provider_batch_id,
        provider_status,
        model,
        claims,
        requests,
        labelled,
        rejected,
        retried,
        input_tokens,
        cached_tokens,
        output_tokens,
        reasoning_tokens,
        bound_usd,
        expected_usd,
        cost_usd,
        uncosted,
        {{ dbt_labels.batch_charge() }} as charged_usd,
        reason,
        message,
        planned_at,
        submitted_at,
        ended_at,
        loaded_at
    from batches
)

select * from final
