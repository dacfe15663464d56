DROP TABLE dashboard_session;
