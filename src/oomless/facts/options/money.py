"""What is asked of `cost`; which prices count is asked of `plan` too."""

from . import Option

USD = 1e15

# A table: an option in a few lines.
# fmt: off
PRICES = (
    Option("providers", "--provider", "text", "rent", "Rents of this provider alone.", (), several=True),
    Option("regions", "--region", "text", "rent", "Rents of this region alone.", (), several=True),
    Option("tier", "--tier", "text", "rent",
           "Kind of rent: reserved is paid used or not, spot may be taken away, community are machines of "
           "strangers [on-demand].", "on-demand",
           choices=("on-demand", "reserved", "spot", "community", "any")),
    Option("prices", "--prices", "text", "rent",
           "Prices of your own, in place of the tables: a CSV in SkyPilot's schema (PROVIDER=FILE names who "
           "asks them), or gpuhunt with the extra prices.", (), several=True, file="read"),
)
ASKED: tuple[Option, ...] = (
    Option("gpu", "--gpu", "text", "cards", "Cards to own or to rent: a100-80gb:8."),
    Option("buy_usd", "--buy-usd", "number", "money",
           "Price of all cards together [the middle of the quotes that are known].", most=USD),
    Option("buy_usd_per_gpu", "--buy-usd-per-gpu", "number", "money", "Price of one card.", most=USD),
    Option("server_usd", "--server-usd", "number", "money",
           "Price of the machines around the cards; without it an answer counts cards alone, and says so "
           "[0].", 0.0, most=USD),
    Option("network_usd", "--network-usd", "number", "money", "Price of switches and cables [0].", 0.0,
           most=USD),
    Option("power_kw", "--power-kw", "number", "money",
           "Power of the whole machine, paid all hours [its maker's figure, or that of the cards and what "
           "such servers take beside them].", most=USD),
    Option("pue", "--pue", "number", "money",
           "Power of the site over that of its machines [a world average].", least=1, most=5),
    Option("usd_per_kwh", "--usd-per-kwh", "number", "money",
           "Price of electricity [of one region, named in the answer].", most=USD),
    Option("colocation_usd_per_kw_month", "--colocation-usd-per-kw-month", "number", "money",
           "Price of space, by power; 0 for rooms of your own [of one market, named in the answer].",
           most=USD),
    Option("staff_usd_per_month", "--staff-usd-per-month", "number", "money",
           "Share of a salary that the machine takes [0].", 0.0, most=USD),
    Option("resale", "--resale", "number", "money",
           "Share of the purchase price that a sale after a year brings; it falls by the same share every "
           "year [0].", 0.0, most=1),
    Option("rent_usd_per_hour", "--rent-usd-per-hour", "number", "rent",
           "Rent of all cards together [the cheapest offer in the tables].", most=USD),
    Option("provider", "--provider", "text", "rent", "Take the rent of this provider."),
    Option("region", "--region", "text", "rent", "Take the rent of this region."),
    *(option for option in PRICES if option.field in ("tier", "prices")),
    Option("utilization", "--utilization", "share", "limits",
           "Share of all hours that the machine is used: rent on demand is paid for those alone, everything "
           "else is always paid [1].", 1.0),
    Option("discount_rate", "--discount-rate", "number", "limits",
           "By how much a dollar in a year counts less [0].", 0.0, most=1),
    Option("months", "--months", "whole", "limits", "How far to look [36].", 36, 1, 120),
    Option("tokens_per_s", "--tokens-per-s", "positive", "limits",
           "What the machine serves, for the price of a million tokens.", most=USD),
    Option("spread", "--spread", "positive", "limits",
           "Share by which the sensitivity moves an input whose range no table gives [0.25].", 0.25,
           most=0.999),
)
ANSWER: tuple[Option, ...] = (
    Option("list_prices", "--list-prices", "switch", "views",
           "List the rents that are known, of --gpu if it is given, and stop."),
    Option("plot", "--plot", "text", "answer",
           "Write both curves and the tornado as a picture to this .svg file.", file="write"),
    Option("json", "--json", "switch", "answer",
           "One JSON object on stdout: every month, every scope, every input."),
)
