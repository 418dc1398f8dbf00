with comments as (
    select * from {{ ref("comments_labelled") }}
),

counted as (
    select
        platform,
        intent,
        count(*) as comments
    from comments
    group by platform, intent
),

final as (
    select
        platform,
        intent,
        comments,
        cast(comments as {{ dbt_labels.type_double() }}) / sum(comments) over (partition by platform) as share
    from counted
)

select * from final
