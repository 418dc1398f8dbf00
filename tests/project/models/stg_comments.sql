select
    comment_id,
    comment_text,
    {{ dbt_labels.text_key("comment_text") }} as text_key
from {{ source("raw", "comments") }}
