with comments as (
    select * from {{ ref("comments_labelled") }}
),

themes as (
    select * from {{ ref("comment_themes") }}
),

final as (
    select
        themes.theme,
        comments.sentiment,
        count(*) as comments
    from themes
    inner join comments on themes.comment_id = comments.comment_id
    group by themes.theme, comments.sentiment
)

select * from final
