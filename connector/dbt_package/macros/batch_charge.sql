{#-
    What a batch counts for in a budget, in US dollars, as an expression over the columns of `batches`.

    What never came to be counts nothing; a batch whose answers all say what they used counts at its cost; any other
    counts at its bound: live, lost, or with an answer that does not say what it used. Null where no price was known.
-#}
{% macro batch_charge() -%}
    case
        when state in ('released', 'refused') then 0
        when state = 'loaded' and uncosted = 0 then cost_usd
        else bound_usd
    end
{%- endmacro %}
