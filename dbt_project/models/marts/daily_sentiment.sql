with comments as (
    select * from {{ ref("comments_labelled") }}
),

final as (
    select
        cast({{ dbt.date_trunc("day", "posted_at") }} as date) as posted_on,
        platform,
        count(*) as comments,
        sum(case when sentiment = 'positive' then 1 else 0 end) as positive,
        sum(case when sentiment = 'negative' then 1 else 0 end) as negative,
        sum(case when sentiment = 'neutral' then 1 else 0 end) as neutral,
        cast(
            avg(case sentiment when 'positive' then 1.0 when 'negative' then -1.0 else 0.0 end)
            as {{ dbt_labels.type_double() }}
        ) as net_sentiment
    from comments
    group by cast({{ dbt.date_trunc("day", "posted_at") }} as date), platform
)

select * from final
