"""The public side: history, latest values and the live feed, as open data.

main      reads environment and clock, runs uvicorn          params    what a query may ask
app       the application put together                       rows      what an answer's rows are
routes/   one file a noun of the API                         formats   how rows are written
exports/  whole answers as files      history  what a query of history means
queries/  all SQL that the API runs                          problems  how a refusal looks (RFC 9457)
live/     tail of Kafka, latest values, websocket feed       paging    cursors, ranges, `next` links
portal/   the page at /
"""
