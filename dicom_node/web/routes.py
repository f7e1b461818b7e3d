"""Every address of the worklist, what answers it, and who may ask. Who may not is told that there is no such page."""

from db import UserRole
from dicom_node.web.gate import EVERYBODY, PUBLIC, Page
from dicom_node.web.pages import (
    account,
    audit,
    case,
    deciding,
    examinations,
    flagged,
    help_page,
    live,
    models,
    node,
    outbox,
    patients,
    provider_sign_in,
    sign_in,
    users,
)

__all__ = ["PAGES"]

_READER = frozenset({UserRole.READER})
_ADMINISTRATOR = frozenset({UserRole.ADMINISTRATOR})
_SCIENTIST = frozenset({UserRole.SCIENTIST})
_AUDITOR = frozenset({UserRole.AUDITOR})

PAGES: tuple[Page, ...] = (
    Page(path="/", handler=flagged.page, roles=_READER),
    Page(path="/events", handler=live.stream, roles=EVERYBODY),
    Page(path="/alerts/{alert:int}/preview", handler=flagged.preview, roles=_READER),
    Page(path="/alerts/{alert:int}/pictures/{name}", handler=flagged.picture, roles=_READER),
    Page(path="/login", handler=sign_in.form, roles=PUBLIC),
    Page(path="/login", handler=sign_in.with_password, roles=PUBLIC, method="POST"),
    Page(path="/oidc/start", handler=provider_sign_in.begin, roles=PUBLIC),
    Page(path="/oidc/callback", handler=provider_sign_in.finish, roles=PUBLIC),
    Page(path="/join/{token}", handler=sign_in.link_form, roles=PUBLIC),
    Page(path="/join/{token}", handler=sign_in.with_link, roles=PUBLIC, method="POST"),
    Page(path="/alerts/{alert:int}", handler=case.page, roles=_READER),
    Page(path="/alerts/{alert:int}/pack/{name:path}", handler=case.member, roles=_READER),
    Page(path="/alerts/{alert:int}/earlier/{name:path}", handler=case.earlier_member, roles=_READER),
    Page(path="/alerts/{alert:int}/open", handler=deciding.open_case, roles=_READER, method="POST"),
    Page(path="/alerts/{alert:int}/take-up", handler=deciding.take_up, roles=_READER, method="POST"),
    Page(path="/alerts/{alert:int}/dismiss", handler=deciding.dismiss, roles=_READER, method="POST"),
    Page(path="/alerts/{alert:int}/verdict", handler=deciding.give_verdict, roles=_READER, method="POST"),
    Page(path="/alerts/{alert:int}/run-again", handler=deciding.run_again, roles=_READER, method="POST"),
    Page(path="/alerts/{alert:int}/reveal", handler=deciding.reveal, roles=_READER, method="POST"),
    Page(path="/alerts/{alert:int}/viewer/{viewer}", handler=case.viewer, roles=_READER),
    Page(path="/patients/{alert:int}", handler=patients.page, roles=_READER),
    Page(path="/series", handler=examinations.page, roles=_READER | _ADMINISTRATOR | _SCIENTIST),
    Page(path="/series/{uid}", handler=examinations.series, roles=_READER | _ADMINISTRATOR | _SCIENTIST),
    Page(path="/series/{uid}/run-again", handler=examinations.run_again, roles=_READER | _ADMINISTRATOR, method="POST"),
    Page(path="/IHEInvokeImageDisplay", handler=examinations.by_address, roles=_READER),
    Page(path="/a/{accession}", handler=examinations.by_address, roles=_READER),
    Page(path="/s/{study}", handler=examinations.by_address, roles=_READER),
    Page(path="/node", handler=node.page, roles=_ADMINISTRATOR),
    Page(path="/node/peers/allow", handler=node.allow, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/peers/remove", handler=node.remove, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/destinations/pause", handler=outbox.pause, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/destinations/resume", handler=outbox.resume, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/destinations/test", handler=outbox.check, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/destinations/retry", handler=outbox.retry_all, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/deliveries/{delivery:int}/retry", handler=outbox.retry, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/node/deliveries/{delivery:int}/cancel", handler=outbox.cancel, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/models", handler=models.page, roles=_ADMINISTRATOR | _SCIENTIST),
    Page(path="/models.csv", handler=models.export, roles=_SCIENTIST),
    Page(path="/help", handler=help_page.page, roles=EVERYBODY),
    Page(path="/logout", handler=sign_in.leave, roles=EVERYBODY, method="POST"),
    Page(path="/me", handler=account.page, roles=EVERYBODY),
    Page(path="/me/preferences", handler=account.prefer, roles=EVERYBODY, method="POST"),
    Page(path="/me/theme", handler=account.switch_theme, roles=EVERYBODY, method="POST"),
    Page(path="/me/password", handler=account.change_password, roles=EVERYBODY, method="POST"),
    Page(path="/me/sessions", handler=account.end_other_sessions, roles=EVERYBODY, method="POST"),
    Page(path="/users", handler=users.page, roles=_ADMINISTRATOR),
    Page(path="/users", handler=users.add, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/users/{name}/roles", handler=users.set_roles, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/users/{name}/enabled", handler=users.set_enabled, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/users/{name}/link", handler=users.new_link, roles=_ADMINISTRATOR, method="POST"),
    Page(path="/audit", handler=audit.page, roles=_AUDITOR),
    Page(path="/audit.csv", handler=audit.export, roles=_AUDITOR),
)
