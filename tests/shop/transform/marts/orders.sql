WITH orders AS (

    SELECT * FROM {{ ref('stg_orders') }}

),

reviews AS (

    SELECT * FROM {{ ref('stg_reviews') }}

)

SELECT
    orders.*,
    COUNT(reviews.review_id) AS reviews
FROM orders
LEFT JOIN reviews ON orders.order_id = reviews.order_id
GROUP BY orders.order_id, orders.customer_name, orders.subtotal
