{{ config(materialized="table") }}  -- a view would go with its seed

with gold as (
    select * from {{ ref("gold_comment_labels") }}
),

comments as (
    select * from {{ ref("stg_comments") }}
),

final as (
    select distinct
        comments.text_key,
        comments.comment_text,
        gold.sentiment,
        gold.intent,
        gold.themes
    from gold
    inner join comments on gold.comment_id = comments.comment_id
    where comments.text_key is not null
)

select * from final
