{{ config(materialized="table") }}  -- a view would go with its seed

with overrides as (
    select * from {{ ref("label_overrides") }}
),

comments as (
    select * from {{ ref("stg_comments") }}
),

final as (
    select distinct
        comments.text_key,
        overrides.sentiment,
        overrides.intent,
        overrides.themes
    from overrides
    inner join comments on overrides.comment_id = comments.comment_id
    where comments.text_key is not null
)

select * from final
