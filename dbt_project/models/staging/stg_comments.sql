with raw as (
    select * from {{ ref("raw_comments") }}
),

renamed as (
    select
        comment_id,
        platform,
        film,
        author,
        posted_at,
        comment_text,
        {{ dbt_labels.is_blank("comment_text") }} as is_blank,
        {{ dbt_labels.text_key("comment_text") }} as text_key
    from raw
)

select * from renamed
