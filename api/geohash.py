"""Geohash (G. Niemeyer, 2008): a cell of the map as a short text; longer texts are cells within."""

_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"


def geohash(lon: float, lat: float, characters: int) -> str:
    """The cell of a point (degrees WGS 84)."""
    bits = 5 * characters
    east, north = (bits + 1) // 2, bits // 2
    x = min(int((lon + 180) / 360 * (1 << east)), (1 << east) - 1)
    y = min(int((lat + 90) / 180 * (1 << north)), (1 << north) - 1)
    code = 0
    for i in range(bits):  # bits of longitude and latitude take turns, longitude first
        source, place = (x, east - 1 - i // 2) if i % 2 == 0 else (y, north - 1 - i // 2)
        code = code << 1 | (source >> place & 1)
    return "".join(_ALPHABET[code >> 5 * (characters - 1 - i) & 31] for i in range(characters))


def middle(cell: str) -> tuple[float, float]:
    """(lon, lat) of a cell's middle, rounded to six digits."""
    west, east, south, north = -180.0, 180.0, -90.0, 90.0
    bits = [_ALPHABET.index(c) >> 4 - i & 1 for c in cell for i in range(5)]
    for i, bit in enumerate(bits):
        if i % 2 == 0:
            west, east = ((west + east) / 2, east) if bit else (west, (west + east) / 2)
        else:
            south, north = ((south + north) / 2, north) if bit else (south, (south + north) / 2)
    return round((west + east) / 2, 6), round((south + north) / 2, 6)
