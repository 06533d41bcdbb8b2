"""The budget atlas: what every combination of options costs, without training any."""

from davis_exp.atlas.counting import Entry, count, ranked
from davis_exp.atlas.views import as_csv, as_dict, as_svg, as_text

__all__ = ["Entry", "as_csv", "as_dict", "as_svg", "as_text", "count", "ranked"]
