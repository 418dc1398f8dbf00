WITH source AS (

    SELECT * FROM {{ source('ecom', 'raw_orders') }}

),

renamed AS (

    SELECT
        id AS order_id,
        customer AS customer_name,
        {{ money.cents_to_dollars('subtotal') }} AS subtotal
    FROM source

)

SELECT * FROM renamed
