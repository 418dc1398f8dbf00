WITH source AS (

    SELECT * FROM {{ source('ecom', 'raw_reviews') }}

),

renamed AS (

    SELECT
        id AS review_id,
        order_id,
        body AS review_text,
        created AS reviewed_at
    FROM source

)

SELECT * FROM renamed
