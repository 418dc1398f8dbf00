with comments as (
    select * from {{ ref("comments_labelled") }}
),

unnested as (
    {{ dbt_labels.unnest_labels("comments", "themes", ["comment_id"]) }}
),

final as (
    select
        comment_id,
        value as theme
    from unnested
)

select * from final
