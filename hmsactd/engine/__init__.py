"""The shell around the core: one actor coroutine per busy operation, and the services that actors share.

`engine` knows which actors live; `actor` tells an operation, records what has happened, then acts; `dispatch` finds
workers for steps; `timers` wakes what is due. Decides nothing about operations: that is the core's. Knows neither
protobuf nor SQL.
"""
