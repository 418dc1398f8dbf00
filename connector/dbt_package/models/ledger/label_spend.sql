with batches as (
    select * from {{ ref("label_batches") }}
),

final as (
    select
        label_table,
        version,
        model,
        provider,
        cast(planned_at as date) as sent_on,
        count(*) as batches,
        sum(claims) as texts,
        coalesce(sum(labelled), 0) as labelled,
        coalesce(sum(input_tokens), 0) as input_tokens,
        coalesce(sum(cached_tokens), 0) as cached_tokens,
        coalesce(sum(output_tokens), 0) as output_tokens,
        coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
        sum(bound_usd) as bound_usd,
        sum(expected_usd) as expected_usd,
        sum(case when state = 'loaded' then expected_usd end) as expected_of_loaded_usd,
        sum(cost_usd) as cost_usd,
        sum(charged_usd) as charged_usd
    from batches
    where state not in ('released', 'refused')
    group by label_table, version, model, provider, cast(planned_at as date)
)

select * from final
