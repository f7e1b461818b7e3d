"""Ways out, to viewers that hold the whole study."""

from dataclasses import dataclass
from urllib.parse import quote

from db import WorklistEntry
from dicom_node.settings import Web

__all__ = ["Viewer", "viewers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """A viewer by its name, and the template of its addresses."""

    name: str
    template: str

    def of(self, entry: WorklistEntry) -> str:
        """The address of an examination there."""
        values = {
            "study": entry.alert.alert.study_instance_uid,
            "series": entry.alert.alert.series_instance_uid,
            "accession": entry.accession_number,
        }
        address = self.template
        for name, value in values.items():
            address = address.replace(f"{{{name}}}", quote(value, safe=""))
        return address


def viewers(web: Web) -> dict[str, Viewer]:
    """The viewers that the settings name."""
    named = {"pacs": ("PACS", web.pacs_url), "ohif": ("OHIF", web.ohif_url), "weasis": ("Weasis", web.weasis_url)}
    return {key: Viewer(name=name, template=template) for key, (name, template) in named.items() if template}
