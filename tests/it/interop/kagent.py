"""kagent's own client exchanges a user's token, as its agents do. Prints what came of it as JSON.

usage: kagent.py WELL_KNOWN_URI SERVICE_ACCOUNT_TOKEN_FILE USER_TOKEN
"""

import asyncio
import json
import sys

from agentsts.core import STSIntegrationBase, TokenType
from agentsts.core.client import TokenExchangeError


async def main(well_known_uri: str, service_account_token_path: str, user_token: str) -> dict:
    sts = STSIntegrationBase(well_known_uri, service_account_token_path)
    # What the plugin of its agents calls: no client authentication, no audience unless one is configured.
    try:
        token = await sts.exchange_token(
            subject_token=user_token,
            subject_token_type=TokenType.JWT,
            actor_token=sts._actor_token,
            actor_token_type=TokenType.JWT,
        )
    except TokenExchangeError as error:
        return {"error": error.error, "status": error.status_code}
    return {"access_token": token}


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
