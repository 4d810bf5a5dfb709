"""URLs of the home page, the first steps and the form that starts a session."""

from django.urls import path

from console.home import views

urlpatterns = [
    path("", views.home, name="home"),
    path("console/home/<str:name>", views.home_part, name="home-part"),
    path("console/health", views.health_part, name="health-part"),
    path("console/first-steps", views.first_steps_part, name="welcome-steps"),
    path("welcome", views.first_steps, name="welcome"),
    path("welcome/look", views.look_again, name="look-again"),
    path("sessions/new", views.new_session, name="session-new"),
    path("sessions/demo", views.start_demo, name="session-demo"),
]
