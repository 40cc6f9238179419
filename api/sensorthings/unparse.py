"""Options back to a query's text, for links to the rest of an expanded collection."""

from datetime import datetime
from urllib.parse import quote

from api.sensorthings.syntax import Call, Constant, Expand, Node, Operation, Options, Path

_SAFE = "$=()',:/;@*."


def query(options: Options) -> str:
    """`$filter=...&$top=1`, escaped for a URL."""
    return "&".join(quote(part, safe=_SAFE) for part in _parts(options))


def _parts(options: Options) -> list[str]:
    parts: list[str] = []
    if options.filter is not None:
        parts.append(f"$filter={node(options.filter)}")
    if options.orderby:
        orders = (node(order.by) + (" desc" if order.descending else "") for order in options.orderby)
        parts.append("$orderby=" + ",".join(orders))
    if options.select:
        parts.append("$select=" + ",".join("/".join(names) for names in options.select))
    if options.expand:
        parts.append("$expand=" + ",".join(map(_item, options.expand)))
    if options.top is not None:
        parts.append(f"$top={options.top}")
    if options.skip:
        parts.append(f"$skip={options.skip}")
    if options.count is not None:
        parts.append(f"$count={'true' if options.count else 'false'}")
    return parts


def _item(item: Expand) -> str:
    inside = ";".join(_parts(item.options))
    return f"{item.name}({inside})" if inside else item.name


def node(tree: Node) -> str:
    """An expression's text; parsed again, it is the same tree."""
    match tree:
        case Constant():
            return _constant(tree)
        case Path(names):
            return "/".join(names)
        case Call(name, arguments):
            return f"{name}({','.join(map(node, arguments))})"
        case Operation("not", (operand,)):
            return f"(not ({node(operand)}))"
        case Operation("negative", (operand,)):
            return f"(-({node(operand)}))"
        case Operation(operator, operands):
            return f"({f' {operator} '.join(map(node, operands))})"
    raise AssertionError(tree)  # the grammar makes nothing else


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _constant(constant: Constant) -> str:
    value = constant.value
    match constant.kind:
        case "text":
            return "'" + str(value).replace("'", "''") + "'"
        case "number":
            return repr(value)
        case "time":
            return _moment(value)
        case "interval":
            return "/".join(map(_moment, value))
        case "duration":
            # Seconds, to the microsecond that a timedelta has.
            seconds = value.total_seconds()
            return f"duration'{'-' if seconds < 0 else ''}PT{abs(seconds):f}S'"
        case "date" | "clock":
            return str(value.isoformat())
        case "bool":
            return "true" if value else "false"
        case "geometry":
            return f"geography'{value}'"
    return "null"
