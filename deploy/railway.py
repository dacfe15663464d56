"""The worker as a service on Railway. Preview and apply: railway config plan --file deploy/railway.py

Needs Railway's command line and `pip install railway-sdk`. Put it into your project's own file if there is one.
"""

from railway_sdk import define_railway, github, preserve, project, service

REPOSITORY = "your-name/generation-worker"


@define_railway
def main(ctx=None):  # noqa: ARG001 - Railway hands it in
    worker = service(
        "generation-worker",
        source=github(REPOSITORY),
        build={"builder": "DOCKERFILE", "dockerfilePath": "Dockerfile"},
        preDeploy="generation-worker migrate",
        start="generation-worker run",
        healthcheck="/health/ready",
        healthcheckTimeout=120,
        replicas=1,
        deploy={
            # From SIGTERM to SIGKILL; the default is 0. More than SHUTDOWN_GRACE by 15 seconds at least.
            "drainingSeconds": 120,
            "overlapSeconds": 0,
            "restartPolicyType": "ON_FAILURE",
            "restartPolicyMaxRetries": 10,
        },
        # Set once in the dashboard and left as they are by every plan.
        env={"DATABASE_URL": preserve(), "DIRECT_URL": preserve(), "SHUTDOWN_GRACE": "100s"},
    )
    return project("generation-worker", resources=[worker])
